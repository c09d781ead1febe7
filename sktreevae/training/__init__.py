"""Training: growths of the tree, objectives, and the loop that optimizes them."""
