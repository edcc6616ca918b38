DROP TABLE user_organizations;
