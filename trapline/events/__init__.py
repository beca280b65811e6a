"""What a trigger hands to the dispatcher, and pure conversion from each store's own event dialect (`dialects`).

Which object exists, and what becomes of it, is not decided here; nothing here reads a store or a socket.
"""

from trapline.events.trigger import ObjectEvent, Trigger, TriggerContext

__all__ = ["ObjectEvent", "Trigger", "TriggerContext"]
