"""The processes, on one machine or several, that together train one student."""
