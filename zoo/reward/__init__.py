"""What images are worth: one file a reward, behind one interface, and the judge that runs them."""
