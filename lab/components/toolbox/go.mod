// A program for test workloads; nothing but Go's own library.
module kubewright-lab/toolbox

go 1.24
