"""MRC and CCP4 files: headers, image stacks and maps."""
