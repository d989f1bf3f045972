"""Token processes: strings that are written token by token and scored as a whole, small enough to list all of them."""
