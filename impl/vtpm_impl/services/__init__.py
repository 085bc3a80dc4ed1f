"""What `vtpm backend` and `vtpm frontend` do, apart from how they are asked: the standard library is all they need."""
