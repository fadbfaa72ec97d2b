using System.CommandLine;
using System.Text.RegularExpressions;
using Qcow2Bitmaps.Tests.Documents;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>Every verb and every option of <c>qemu-img --help</c> is there, or the documentation says that it is not.</summary>
public sealed partial class OptionTableTests
{
    private const string Page = "docs/differences-from-qemu-img.md";
    private const string Refused = "Not supported: ";

    [Fact]
    public async Task EveryOptionIsThereOrSaidToBeRefused()
    {
        Qemu.Require();
        string refusals = (await Document.ReadAsync(Page)).Lines.Single(static line => line.StartsWith(Refused, StringComparison.Ordinal));
        HashSet<string> refused = [.. Quoted().Matches(refusals).Select(static match => match.Groups["word"].Value)];
        var unused = new HashSet<string>(refused);
        Command root = Support.Cli.Root();
        foreach (IGrouping<string, QemuOption> verb
            in (await QemuOption.ReadAllAsync()).GroupBy(static option => option.Verb, StringComparer.Ordinal))
        {
            Command? command = verb.Key.Length == 0 ? root : root.Subcommands.SingleOrDefault(command => command.Name == verb.Key);
            if (command is null)
            {
                Assert.True(refused.Contains(verb.Key), $"{Page} says nothing of '{verb.Key}'");
                unused.Remove(verb.Key);
                continue;
            }

            foreach (QemuOption option in verb)
            {
                if (refused.Contains(option.Name))
                {
                    Assert.True(Find(command, option.Name) is null, $"{verb.Key} {option.Name} is there");
                    unused.Remove(option.Name);
                    continue;
                }

                Option ours = Find(command, option.Name)
                    ?? throw new InvalidOperationException($"{Page} says nothing of '{verb.Key} {option.Name}'");
                Assert.True(
                    option.HasValue == ours.Arity.MaximumNumberOfValues > 0, $"{verb.Key} {option.Name} takes a value, or does not");
            }
        }

        Assert.Empty(unused);
    }

    [Fact]
    public async Task WhatIsRefusedIsAnError()
    {
        foreach (string words
            in new[]
            {
                "info --image-opts x",
                "create --object secret,id=a x 1M",
                "convert --salvage x y",
                "convert --target-image-opts x y",
                "dd if=x of=y",
                "bench x",
                "amend -o compat=v3 x",
            })
        {
            Assert.Equal(1, (await Support.Cli.RunAsync(words.Split(' '))).ExitCode);
        }
    }

    [Theory]
    [InlineData("-V")]
    [InlineData("--version")]
    public async Task TheVersionIsToldAsByQemuImg(string option) =>
        Assert.Matches(@"^\d+\.\d+\.\d+\n$", await Support.Cli.OkAsync(option));

    [Fact]
    public async Task TraceEventsAreThoseThatDoNotExist()
    {
        Qemu.Require();
        using var verb = new VerbTwice();
        await verb.MakeAsync(static folder => Qemu.ImgOkAsync("create", "-q", "-f", "raw", Path.Combine(folder, "x"), "2M"));
        foreach (string commandLine
            in new[]
            {
                "-T no_such_event measure --size 1M",
                "--trace no_such_event -T nor_this measure --size 1M",
                "-T no_such_event resize --shrink -f raw @x -1M",
            })
        {
            ProcessResult result = await verb.RequireSameAsync(commandLine);
            Assert.StartsWith(
                "qcow2bitmaps: warning: trace event 'no_such_event' does not exist\n", result.Error, StringComparison.Ordinal);
        }
    }

    public static Option? Find(Command command, string name) =>
        command.Options.FirstOrDefault(option => option.Name == name || option.Aliases.Contains(name))
            ?? (name is "-h" or "--help" ? new System.CommandLine.Help.HelpOption() : null);

    [GeneratedRegex("`(?<word>[^`]+)`", RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex Quoted();
}
