module tests/bmp

go 1.24

require github.com/osrg/gobgp/v3 v3.37.0
