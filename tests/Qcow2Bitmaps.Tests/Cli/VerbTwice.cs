using System.Security.Cryptography;
using System.Text.RegularExpressions;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>One command line, run by qemu-img and by the tool, each in a folder of its own with the same files.</summary>
internal sealed partial class VerbTwice : IDisposable
{
    private const string FolderMark = "@";

    private readonly TempFolder _folder = TempFolder.InMemory();

    public VerbTwice()
    {
        QemuFolder = Directory.CreateDirectory(_folder.File("qemu")).FullName;
        OurFolder = Directory.CreateDirectory(_folder.File("ours")).FullName;
    }

    public string QemuFolder { get; }

    public string OurFolder { get; }

    /// <summary>Has both folders have files.</summary>
    /// <param name="make">Makes them in the folder that it is given.</param>
    public async Task MakeAsync(Func<string, Task> make)
    {
        await make(QemuFolder);
        foreach (string path in Directory.EnumerateFiles(QemuFolder))
        {
            File.Copy(path, Path.Combine(OurFolder, Path.GetFileName(path)));
        }
    }

    /// <summary>Runs both, and requires that they print the same, end the same, warn the same or not, and leave the same images.</summary>
    /// <param name="commandLine">The words; '@' stands for the folder, '' for an empty word.</param>
    public async Task<ProcessResult> RequireSameAsync(string commandLine)
    {
        string[] words = commandLine.Split(' ');
        ProcessResult theirs = await Qemu.RunAsync("qemu-img", QemuFolder, [.. words.Select(word => Word(word, QemuFolder))]);
        ProcessResult ours = await Support.Cli.RunAsync([.. words.Select(word => Word(word, OurFolder))]);

        Assert.True(theirs.ExitCode == ours.ExitCode, $"{commandLine}: {theirs.ExitCode} {theirs.Error}; we: {ours.ExitCode} {ours.Error}");
        Assert.Equal(Normalize(theirs.Output, QemuFolder), Normalize(ours.Output, OurFolder));
        Assert.True(theirs.Error.Length == 0 == (ours.Error.Length == 0), $"{commandLine}: '{theirs.Error}'; we: '{ours.Error}'");
        await RequireSameFilesAsync();
        return ours;
    }

    public void Dispose() => _folder.Dispose();

    private static string Word(string word, string folder) =>
        word == "''" ? "" : word.Replace(FolderMark, folder + "/", StringComparison.Ordinal);

    /// <summary>
    /// The same names, and of each image the same information and the same disk; most are not touched, and the same byte for byte.
    /// </summary>
    private async Task RequireSameFilesAsync()
    {
        string[] names = NamesIn(QemuFolder);
        Assert.Equal(names, NamesIn(OurFolder));
        foreach (string name in names)
        {
            string theirs = Path.Combine(QemuFolder, name);
            string ours = Path.Combine(OurFolder, name);
            byte[] expected = await File.ReadAllBytesAsync(theirs);
            byte[] actual = await File.ReadAllBytesAsync(ours);
            if (!expected.AsSpan().SequenceEqual(actual))
            {
                Assert.Equal(await DescribeAsync(theirs, QemuFolder), await DescribeAsync(ours, OurFolder));
            }
        }
    }

    private static string[] NamesIn(string folder) =>
        [.. Directory.EnumerateFiles(folder).Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    private async Task<string> DescribeAsync(string path, string folder)
    {
        string info = await Qemu.ImgOkAsync("info", "--output=json", path);
        string guest = _folder.File("guest");
        ProcessResult read = await Qemu.ImgAsync("convert", "-O", "raw", path, guest);
        string sum = read.ExitCode == 0 ? Convert.ToHexString(SHA256.HashData(await File.ReadAllBytesAsync(guest))) : "unreadable";
        return $"{Normalize(info, folder)} {sum}";
    }

    private static string Normalize(string output, string folder) =>
        Changing().Replace(output.Replace(folder, "", StringComparison.Ordinal), "0");

    [GeneratedRegex(
        "(?<=\"(actual-size|date-sec|date-nsec)\": )\\d+|(?<=disk size: ).*", RegexOptions.ExplicitCapture, Patience.PatternMilliseconds)]
    private static partial Regex Changing();
}
