# The trial programs, each at sizes that compile in seconds, for a few steps.
add_executable(program_data tests/programs/program_data.c)
set(program_folder ${CMAKE_BINARY_DIR}/programs)
add_test(NAME programs/data COMMAND program_data ${program_folder})
set_tests_properties(programs/data PROPERTIES FIXTURES_SETUP program_data)
# Steps, then settings.
function(program name steps)
  add_test(NAME programs/${name} COMMAND sh ${CMAKE_SOURCE_DIR}/tests/programs/run.sh $<TARGET_FILE:sslc> ${program_folder}
                                         ${CMAKE_SOURCE_DIR}/tests/programs/${name}.ssl ${steps} ${ARGN})
  set_tests_properties(programs/${name} PROPERTIES FIXTURES_REQUIRED program_data)
endfunction()
set(small width=4 batch=8)
set(tokens dim=24 depth=1)
program(simclr 2 ${small})
program(moco 2 ${small} queue_len=32)
program(byol 2 ${small})
program(swav 5 ${small} queue_len=16 queue_from=1 K=12 crops=1 epochs=3) # 4 steps an epoch: both phases
program(dino 2 ${small} ${tokens} n_local=1 K=16 hidden=32)
program(vicreg 2 ${small})
program(barlow 2 ${small})
program(mae 2 ${small} ${tokens} dec_dim=32 dec_depth=1)
program(ijepa 2 ${small} ${tokens} pred_dim=24 pred_depth=1)
program(rotation 2 ${small})
program(jigsaw 2 width=4 batch=2 tile=16)
program(relative_patch 2 width=4 batch=4)
program(vae 2 batch=8 hidden=32)
program(dcgan 2 batch=4 width=4)
program(wgan_gp 5 batch=4 width=4) # the fifth trains the generator
program(bert 4 batch=4 layers=1 dim=24 len=12 vocab=40) # the fourth updates
program(gpt 2 batch=4 layers=1 dim=24 T=16)
program(clip 2 batch=4 width=4 size=32 layers=1 dim=16 len=8 vocab=20 end=19)
program(wav2vec 2 batch=4 T=10 dim=8 width=24 V=4 layers=1 distractors=3)
