"""Networks that give each pixel or voxel its class."""
