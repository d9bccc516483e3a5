module stallscope.dev/demo

go 1.19
