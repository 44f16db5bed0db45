fn main() -> anyhow::Result<()> {
    egress_tests::demo::main()
}
