"""What a model takes and gives: its function, signature and example inputs."""
