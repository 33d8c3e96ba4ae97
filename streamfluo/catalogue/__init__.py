"""Floor 5: the sessions of a facility in one SQLite file. Imports core, pixels, session, report; a science is reached
by registration.

entry      what is kept of one session      columns    what they are called
reading    one session read                 measures   figures of its steps     image      its small picture
database   the file, checked                scan       a folder into it         filters   what people ask for
find       sessions by filters              trends     a rig over months        report    their picture
page       a catalogue as HTML              page_rows  the data of its rows     details   a session's own page
compare    two sessions
"""
