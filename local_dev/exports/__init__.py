"""Tiny models of real architectures with random weights, exported by their libraries, and those libraries' answers.

    pip install --editable '.[heads]'        # in an environment of its own; brings torch
    python -m local_dev.exports              # writes tests/models anew; --only NAME for one of them

What is written is what `tests/unit/test_model_exports.py` compares the heads with. Nothing here is imported by the
package or its tests, and no text of those libraries is in it.
"""
