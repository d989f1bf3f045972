"""Board games of two players with perfect information, who move by turns."""
