"""Any pipeline of diffusers as a policy, through the contract that all of them keep."""
