"""Video files and cameras, read frame by frame, and video files written; by PyAV, FFmpeg's libraries in Python."""
