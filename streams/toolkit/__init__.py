"""The Alert/Notification Toolkit: pages and an HTTP API over the view, for people who look at alerts."""
