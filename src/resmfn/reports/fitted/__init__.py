"""Tables and reports of fitted images and maps."""
