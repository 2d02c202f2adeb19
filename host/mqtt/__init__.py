"""MQTT: connections that acknowledge only when told to, topics as data, and a small broker for trying things out."""
