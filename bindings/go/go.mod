module qcbm

go 1.19
