"""Groups of vectors that lie close together, and what is drawn of them."""
