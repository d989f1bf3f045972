"""Trading: one asset with a given price, an order too large for its market, an option to be hedged.

The small markets are solved exactly, and are the referees of what is learned on the large ones.
"""
