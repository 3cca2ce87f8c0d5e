"""The budgets role: counts rollups into budgets, tells gateways and people what holds of them."""
