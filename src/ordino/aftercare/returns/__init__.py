"""Returns: delivered units may come back, do come back, and are restocked or scrapped; what they cost is given back."""

from ordino.aftercare.returns.authorization import authorize
from ordino.aftercare.returns.read import returns_of
from ordino.aftercare.returns.receipt import receive

__all__ = ["authorize", "receive", "returns_of"]
