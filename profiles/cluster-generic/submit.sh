#!/bin/sh
# RULE THREADS MEM_MB MINUTES GPUS JOBSCRIPT: submit the script, print the number of the job.
# Grid Engine; change it to what your cluster's manual says.
exec qsub -terse -cwd -V -N "$1" -pe smp "$2" -l "h_vmem=$3M,h_rt=00:$4:00" "$6"
