using System.Globalization;
using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Format;

/// <summary>Whatever stands in a name: messages hold only printable text, and a printable name as it is.</summary>
public sealed class PrintableMessageTests
{
    private const string Harmful = "\0\a\b\t\n\r\u001b\u007f\u0085\u009b"
        + "\u00ad\u200b\u200f\u202e\u2028\u2029\u2066\ufeff\ud800\udbff\udc00\udfff\udcff";

    private const string Harmless = "abcxyzABC019 -_.,:'\"\\/ä\u00e9Ω語";

    private static readonly Gen<string> s_names = Gen.Frequency(
        (3, Gen.Elements(Harmless.ToCharArray())),
        (1, Gen.Elements(Harmful.ToCharArray()))).ArrayOf().Select(static letters => new string(letters));

    // Each says something of a name.
    private static readonly Func<string, string>[] s_messages =
    [
        static name => new BackupException($"'{name}' is damaged").Message,
        static name => new BackupException(name).Message,
        static name => new BackupException($"again: {new BackupException($"'{name}' is damaged")}").Message,
        static name => new BitmapStateException(name, $"Bitmap '{name}' is busy").Message,
        static name => new ImageLockedException(name, $"'{name}' is locked").Message,
        static name => new NoSpaceException($"'{name}' is full", 1, 1).Message,
        static name => NoSpaceException.OfVolume(name, 2, 1).Message,
        static name => new SnapshotStateException(name, $"no snapshot '{name}'").Message,
        static name =>
            new Qcow2UnsupportedException(UnsupportedReason.Format, name.Length > 3 ? $"'{name}' is long" : $"'{name}' is short").Message,
        static name => new Qcow2FormatException(Fault(name)).Message,
        static name => new Qcow2FormatException(Fault("x"), name).Message,
        static name => Fault(name).ToString(),
        static name => (Fault("x") with { Structure = name }).Structure,
        static name => new BitmapDirectoryEntry { Name = ImageText.Encode(name.Replace("\0", "", StringComparison.Ordinal)) }.Describe(1),
        static name => new BitmapChange(name, BitmapChangeKind.Added, name, name).ToString(),
        static name => new BitmapVerdict { Name = name, ImageIndexes = [] }.ToString(),
        static name => Thrown(() => FileStorage.Open("/absent/" + name, FileAccess.Read, ImageLock.None)),
        static name => Thrown(() => Qcow2Image.OpenAsync(new MemoryStorage("no image"u8, name)).GetAwaiter().GetResult()),
    ];

    [Fact]
    public void MessagesArePrintable() => Properties.ForAll(s_names, 1000, static name => Assert.All(s_messages, message =>
    {
        string text = message(name);
        AssertPrintable(text);
        if (IsPrintable(name))
        {
            Assert.Contains(name, text, StringComparison.Ordinal);
        }
    }));

    [Fact]
    public void HolesAreFormattedAsElsewhere()
    {
        double half = 0.5;
        string message = new BackupException(
            $"{half} {255:x} {7,3}|{"ab",-4}|{FaultCode.HeaderMagic} {(string?)null}{DateTime.UnixEpoch:yyyy}").Message;
        Assert.Equal(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{half} {255:x} {7,3}|{"ab",-4}|{FaultCode.HeaderMagic} {(string?)null}{DateTime.UnixEpoch:yyyy}"),
            message);
    }

    [Fact]
    public void OnlyTheLineBreaksOfAMessageAreKept()
    {
        string name = "a\nb";
        var inner = new BackupException($"'{name}'\nhelp");
        Assert.Equal("'a\\nb'\nhelp", inner.Message);
        Assert.Equal("x: 'a\\nb'\nhelp", new BackupException($"x: {inner}").Message);
        Assert.Equal("x: 'a\\nb'\\nhelp", new BackupException($"x: {inner.Message}").Message);
    }

    [Fact]
    public async Task TheToolSaysPrintableTextOnly()
    {
        using var folder = new TempFolder();
        string image = folder.File("disk");
        await Support.Cli.OkAsync("create", "-f", "qcow2", image, "1M");
        Properties.ForAll(s_names, 50, name =>
        {
            Run("info", folder.File("absent") + name);
            Run("create", "-f", name, folder.File("new"), "1M");
            Run("create", "-f", "qcow2", "-o", name + "=1", folder.File("new"), "1M");
            Run("create", "-f", "qcow2", "-o", "compat=" + name, folder.File("new"), "1M");
            Run("convert", "-l", "snapshot." + name, image, folder.File("new"));
            Run("resize", image, "1" + name);
            Run("snapshot", "-d", "x" + name, image);
            Run("bitmap", "--remove", image, "x" + name);
            Run("chain", "commit", image, folder.File("absent") + name);
            Run("x" + name);
        });
    }

    [Fact]
    public void TheToolShowsStoredNamesThatCannotHarm()
    {
        using var folder = new TempFolder();
        string image = folder.File("disk");
        Properties.ForAll(s_names.Where(static name => BitmapName.FaultOf(name) is null), 20, name =>
        {
            Run("create", "-f", "qcow2", image, "1M");
            Run("bitmap", "--add", image, "--", name);
            Run("bitmap", "--add", image, "--", name);
            string table = Run("chain", "check", image);
            Assert.Contains(PrintableText.Escape(name), table, StringComparison.Ordinal);
        });
    }

    /// <summary>Runs the tool on a terminal, where it must do no harm.</summary>
    private static string Run(params string[] arguments)
    {
        ProcessResult result = Support.Cli.RunAsync(isTerminal: true, arguments).GetAwaiter().GetResult();
        Assert.All(result.Error.Split('\n'), AssertPrintable);
        Assert.All(result.Output.Split('\n'), AssertPrintable);
        return result.Output;
    }

    private static FormatFault Fault(string name) => new(FaultCode.HeaderMagic, $"bitmap '{name}'", "field", 0, $"'{name}'", "another");

    private static string Thrown(Action action) => Assert.ThrowsAny<IOException>(action).Message;

    private static void AssertPrintable(string text) => Assert.True(IsPrintable(text), text);

    private static bool IsPrintable(string text)
    {
        for (int i = 0; i < text.Length;)
        {
            if (!Rune.TryGetRuneAt(text, i, out Rune rune)
                || Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator
                    or UnicodeCategory.ParagraphSeparator)
            {
                return false;
            }

            i += rune.Utf16SequenceLength;
        }

        return true;
    }
}
