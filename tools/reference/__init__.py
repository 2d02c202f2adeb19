"""Reference pages of docs/, written from the code at each build: commands, settings. Nothing of them is kept."""
