# find_package(Inkstone) gives Inkstone::inkstone, the shared library, and Inkstone::static.
get_filename_component(_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
add_library(Inkstone::inkstone SHARED IMPORTED)
set_target_properties(Inkstone::inkstone PROPERTIES
  IMPORTED_LOCATION "${_prefix}/lib/libinkstone_c.so" IMPORTED_NO_SONAME TRUE
  INTERFACE_INCLUDE_DIRECTORIES "${_prefix}/include")
find_package(Threads REQUIRED)
add_library(Inkstone::static STATIC IMPORTED)
set_target_properties(Inkstone::static PROPERTIES
  IMPORTED_LOCATION "${_prefix}/lib/libinkstone_c.a"
  INTERFACE_INCLUDE_DIRECTORIES "${_prefix}/include"
  INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};m")
unset(_prefix)
