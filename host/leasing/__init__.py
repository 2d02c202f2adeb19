"""Who may compute on which device, and when: the choice (policy), its one owner (leases), the devices."""
