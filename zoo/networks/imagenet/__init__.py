"""Networks for photographs, as they were trained on ImageNet."""
