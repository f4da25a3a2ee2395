"""Returns: delivered units may come back, do come back, and are restocked or scrapped; what they cost is given back.

``authorization.py`` says what may come back and where it goes, ``receipt.py`` takes it in, ``cancellation.py`` calls it off;
``history.py`` is what all of them know of an order.
"""

from ordino.aftercare.returns.authorization import authorize
from ordino.aftercare.returns.cancellation import cancel
from ordino.aftercare.returns.read import returns_of
from ordino.aftercare.returns.receipt import receive

__all__ = ["authorize", "cancel", "receive", "returns_of"]
