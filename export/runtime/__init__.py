"""onnxruntime: its sessions, and the process of its own that it runs in."""
