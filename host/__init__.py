"""The Sensorium host: takes in what arrives, hands it to plugins and delivers what they find."""
