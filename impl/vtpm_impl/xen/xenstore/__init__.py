"""The xenstore: its wire protocol, a store, a server for domains that are processes of this host, and a client."""
