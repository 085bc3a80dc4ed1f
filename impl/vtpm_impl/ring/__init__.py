"""The ring: one page and one event channel between a frontend that asks and a backend that answers."""
