"""Trains the bundled CLIP from nothing on the drawn world, exports it for open_clip, and measures it."""
