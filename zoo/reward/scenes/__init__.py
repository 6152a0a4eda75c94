"""Do images of coloured shapes show what was asked for? By two detectors of different kinds."""
