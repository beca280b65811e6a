"""How good a model is: what it says of a data set, told against what is true.

`matching`, `precision`, `calibration`, `intervals`, `detecting` and `classifying` are figures in pure numpy; `dataset`
and its readers know formats; `measuring` runs a model over pictures; `report` makes the document; `picture` and
`mistakes` draw it and need matplotlib. Where a model comes from is not known here.
"""

from trapline.evaluation.classifying import Named, classifier_figures
from trapline.evaluation.detecting import detector_figures
from trapline.evaluation.matching import Found, Truth

__all__ = ["Found", "Named", "Truth", "classifier_figures", "detector_figures"]
