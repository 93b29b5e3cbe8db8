# make demo | test | lint | bench | gpu | cuda-check
