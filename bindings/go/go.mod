module github.com/qcbm/qcbm/bindings/go

go 1.19
