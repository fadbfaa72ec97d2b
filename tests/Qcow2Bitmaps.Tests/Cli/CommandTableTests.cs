using Qcow2Bitmaps.Cli;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>Only the command that the arguments name is built: that must be the one.</summary>
public sealed class CommandTableTests
{
    [Fact]
    public void EntriesHaveTheNamesOfTheirCommands()
    {
        var output = new ToolWriter(Stream.Null, isTerminal: false);
        var messages = new MessageWriter(output, TextWriter.Null);
        CommandEntry[] entries = [.. CommandTable.Verbs, .. CommandTable.Verbs.SelectMany(static entry => entry.Subcommands)];

        Assert.True(entries.Length > 30);
        Assert.All(entries, entry => Assert.Equal(entry.Name, entry.Create(output, messages).Name));
    }

    [Theory]
    [InlineData("inf", "Unrecognized command or argument 'inf'")]
    [InlineData("chain chek top.qcow2", "Unrecognized command or argument 'chek'")]
    [InlineData("chain", "Required command was not provided.")]
    public async Task WhatIsNoCommandIsSaid(string arguments, string message)
    {
        ProcessResult result = await Support.Cli.RunAsync(arguments.Split(' '));

        Assert.Equal(1, result.ExitCode);
        Assert.Contains(message, result.Error, StringComparison.Ordinal);
    }
}
