"""Pictures of robots: a lit scene, a camera that follows, OpenGL without a window, MP4 files."""
