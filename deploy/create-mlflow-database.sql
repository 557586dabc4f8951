-- MLflow keeps its tables in a database of its own on the same server.
create database mlflow owner forecastle;
