"""The platform that is a harness at the other end of standard input and output: it plays the machine and everybody."""
