"""``ordino demo``: a month of real purchases, from placement to the doorstep and back."""
