// The second of two files of one program that include quark.hpp; exceptions.cpp is the first. They must link.
#include <quark.hpp>

std::size_t second() {
    quark::HashRing ring;
    ring.add("a");
    return ring.size();
}
