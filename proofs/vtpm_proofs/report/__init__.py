"""What a run of the prover tells: text for people, and the formats of other tools."""
