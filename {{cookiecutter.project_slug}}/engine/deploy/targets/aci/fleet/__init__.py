"""Several container groups behind one name: a release is made beside the old one and switched to.

The groups of a release have a colour, NAME-blue-1 and so on; a Traffic Manager profile called NAME
has their addresses. One PUT of the profile is the step that decides.
"""
