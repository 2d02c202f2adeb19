"""Trains the bundled Whisper from nothing on the spoken world, exports it for faster-whisper, and measures it."""
